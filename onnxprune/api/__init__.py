"""What the commands do, as functions: one file a public function, with its options and what it raises."""

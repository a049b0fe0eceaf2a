"""Results as text, Markdown and JSON. One builder per result says what is shown; the renderers say how."""

"""Running a network on calibration data and keeping sums, not samples."""

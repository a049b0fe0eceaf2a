"""Results as one HTML file: no network, no script, readable in light and dark and on a phone."""

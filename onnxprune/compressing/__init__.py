"""One budget for every lever: channels, blocks and precision together."""

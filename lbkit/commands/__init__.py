"""Commands of the command line, one file each; `lbkit.cli` collects them."""

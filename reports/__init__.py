"""Reports: outcomes in, text, picture or page out."""

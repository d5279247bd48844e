"""The corpora that can be read from local files, by the id or folder that a template file names as its source."""

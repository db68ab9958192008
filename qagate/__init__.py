"""qagate: the image quality gate between scanner and PACS."""

__version__ = "0.1.0"

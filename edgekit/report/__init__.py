"""Reports: the document (``report.json``) and its renderings, all pure functions."""

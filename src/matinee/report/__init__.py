"""The report a person reads: one self-contained HTML file, drawn from neutral pieces (`report.page.page`)."""

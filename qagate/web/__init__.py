"""The pages and the REST API: what people look at and click. Decides nothing about series."""

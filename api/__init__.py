"""HTTP in, rows and blobs out. Never opens a model, never imports the computation."""

"""Other libraries on our workers: dask's collections, joblib, notebooks."""

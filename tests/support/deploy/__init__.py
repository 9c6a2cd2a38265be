"""The deployment files as documents, and a running Docker-less stack of them."""

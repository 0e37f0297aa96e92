"""Takes the pictures of the documentation: real answers of the local model, everything as it looks.

python -m tools.pictures docs/images
"""

"""The network, its weights, and the pipeline that turns a picture and poses into frames."""

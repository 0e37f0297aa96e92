"""OpenTelemetry: spans, metrics, and the worker that emits them off the stream's thread."""

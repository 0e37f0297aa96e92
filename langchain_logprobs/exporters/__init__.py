"""OTLP exporters that write the package's own spans for a tenth of the SDK's time.

Drop-in replacements: what is sent, and how it is configured, is as with OpenTelemetry's exporters.
They outlast a receiver that is away for a minute.
"""

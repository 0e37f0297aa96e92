"""Pure: values and functions over them. No LangChain, no OpenTelemetry, no clock, no I/O."""

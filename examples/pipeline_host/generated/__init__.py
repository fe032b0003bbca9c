"""Code made from `protos/pipeline.proto`; `make proto` makes it."""

"""The generator of the bundled sample (sciriff/sample/): invented rows and a small tokenizer."""

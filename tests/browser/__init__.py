"""The page in a headless Chromium: harness, made-up answers, hostile text."""

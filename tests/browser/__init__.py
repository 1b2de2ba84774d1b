"""The page of `unspool inspect --format html` in Chromium: what a person sees and clicks."""

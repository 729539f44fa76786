"""What a notebook shows: pictures, sliders, checks and predictions. Importing a part draws nothing by itself."""

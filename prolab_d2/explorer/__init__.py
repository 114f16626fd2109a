"""The explorer: one image at a time in a browser, asked why.

`workbench` and `session` answer, `page` shows it with Gradio, which nothing else here needs.
"""

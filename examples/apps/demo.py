"""The model to try: a box to write into, and what the model says to it."""

from __future__ import annotations

import os

import gradio as gr
from sentiment import predict

demo = gr.Interface(
    predict, gr.Textbox(label="Text"), gr.Label(label="It sounds"), title="Sentiment", flagging_mode="never"
)
demo.launch(server_name=os.environ["DSTACK_HOST"], server_port=int(os.environ["PORT_0"]))

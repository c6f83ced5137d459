"""The model behind an HTTP interface: POST /predict, and a page about it at /docs."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel
from sentiment import predict

app = FastAPI(title="Sentiment")


class Text(BaseModel):
    text: str


@app.get("/")
def about() -> dict[str, str]:
    return {"try": "curl -H 'content-type: application/json' -d '{\"text\": \"a sunny day\"}' ADDRESS/predict"}


@app.post("/predict")
def of(asked: Text) -> dict[str, float]:
    return predict(asked.text)

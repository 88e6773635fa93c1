"""Callbacks for trackers: MLflow, TensorBoard, Weights & Biases. Each loads its library when made.

What they are told, and when, is in `search.workers.callbacks`.
"""

from search.callbacks.to_mlflow import MLflowCallback
from search.callbacks.to_tensorboard import TensorBoardCallback
from search.callbacks.to_wandb import WandbCallback

__all__ = ["MLflowCallback", "TensorBoardCallback", "WandbCallback"]

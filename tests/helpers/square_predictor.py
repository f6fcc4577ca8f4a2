"""A base for models of tests that predict from crops."""

from posekit.inference.predictor import Predictor


class SquarePredictor:
    """A predictor whose `predict_crops` is a test's own."""

    input_size = 224
    predict_square = Predictor.predict_square
    predict_squares = Predictor.predict_squares

"""From a trained model to answers: predict, evaluate, export, and the cascade's later stages."""

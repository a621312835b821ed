"""Who reads what in a model: real forwards, followed tensor by tensor."""

"""How zeros become speed: arrays only, no modules."""

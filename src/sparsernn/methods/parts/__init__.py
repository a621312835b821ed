"""Parts that engines and methods are composed of: scores, schedules, budgets, rescaling."""

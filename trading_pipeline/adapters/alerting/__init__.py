"""How alerts are kept, and the channels by which they reach people."""

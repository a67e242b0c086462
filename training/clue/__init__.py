"""CLUE: items as text, a sequence of items per service, and a user contrasted with the others (NAVER, 2111.11294)."""

"""`python -m damo` prints which damo this is."""

from ._about import about

if __name__ == "__main__":
    print(about())

"""`python -m launch` is `hindcast`, so that spark-submit and horovodrun can run it."""

from launch.cli import main

if __name__ == "__main__":
    main()

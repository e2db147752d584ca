"""Run one private server for as long as whoever started us lives, then remove its folder.

`python guard.py FOLDER USER COMMAND...`; USER is a user id, or -1 to stay who we are. Standard input is a pipe
that nobody writes to: it ends when the test process ends, however it ends (a SIGKILL included), which works
alike on Linux and macOS.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading

GRACE_S = 5.0


def main() -> int:
    folder, user, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    account = {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []} if user >= 0 else {}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, cwd=folder, **account)
    threading.Thread(target=stop_when_orphaned, args=(server,), daemon=True).start()
    code = server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return code


def stop_when_orphaned(server: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)
    # SIGINT is PostgreSQL's fast shutdown, and an ordinary stop to Redis and rclone.
    for signal_number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(server.pid, signal_number)
            server.wait(GRACE_S)
            return
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


if __name__ == "__main__":
    sys.exit(main())

"""Three operations of the task store, from Python. Run: pip install redis; python client.py [redis://127.0.0.1:6379]"""

import sys

import redis

url = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379"
# With protocol 3, maps come as dictionaries; with 2 they are flat lists.
server = redis.Redis.from_url(url, protocol=3, decode_responses=True)

# Put a task and read it back.
task = "play:tasks:mtask-9a1c7d40-2e6b-4f83-8b5d-c0f1e2a3b4c5"
put = server.execute_command(
    "MIROIR.PUT", task, "index_uid", "products", "task_type", "documentAdditionOrUpdate"
)
server.execute_command("MIROIR.TASK.NODE", task, "node-0", "UID", 4711)
row = server.execute_command("MIROIR.GET", task)
print(f"put {put}, status {row['status']}, node_tasks {row['node_tasks']}")

# Acquire a lease and renew it. The token goes with whatever the leader does.
lease = "play:lease:reshard:orders"
held, holder, _, token = server.execute_command("MIROIR.LEASE.ACQUIRE", lease, "pod-b", 10_000)
print(f"lease held {bool(held)} by {holder}")
if held:
    renewed, _, left, _ = server.execute_command(
        "MIROIR.LEASE.RENEW", lease, "pod-b", 10_000, "TOKEN", token
    )
    print(f"renewed {bool(renewed)} for {left} ms")

# Push CDC events, look at the oldest ones, and remove them once they are delivered.
buffer = "play:cdc:overflow:kafka-us"
events = ['{"op":"add","id":1}', '{"op":"delete","id":2}']
server.execute_command("MIROIR.CDC.PUSH", buffer, "BUDGET", 1 << 30, *events)
oldest = server.execute_command("MIROIR.CDC.PEEK", buffer, "COUNT", 100)
if oldest:
    seq, newest_seen = oldest[-1]
    removed = server.execute_command("MIROIR.CDC.ACK", buffer, seq)
    print(f"acknowledged {removed}, the last was {newest_seen}")

"""The least that aiohttp can do with the protocol's models: acks heartbeats, sends signals back.

What a relay costs beyond this is its own code.
"""

import sys

import uvloop
from aiohttp import WSMsgType, web

from camagent.signaling.messages import (
    FROM_DEVICE,
    DeviceHello,
    DeviceHelloAck,
    Heartbeat,
    HeartbeatAck,
    encode,
)


async def _serve(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(compress=False, heartbeat=20, max_msg_size=65536)
    await websocket.prepare(request)
    async for received in websocket:
        if received.type is not WSMsgType.TEXT:
            break
        message = FROM_DEVICE.decode(received.data)
        if isinstance(message, DeviceHello):
            payload = DeviceHelloAck.Payload(device_id=message.payload.device_id)
            await websocket.send_str(encode(DeviceHelloAck(payload=payload)))
        elif isinstance(message, Heartbeat):
            await websocket.send_str(encode(HeartbeatAck(request_id=message.request_id)))
        else:
            await websocket.send_str(encode(message))
    return websocket


async def _main(port: int) -> None:
    import asyncio  # noqa: PLC0415 - only here

    application = web.Application()
    application.router.add_get("/ws/device", _serve)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))

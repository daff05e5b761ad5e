/**
 * The traffic of `meshvpn bench`: TCP between two addresses in the mesh. One line from the caller
 * says what it wants: `down` (the server sends), `up` (it counts and says how much came) or `echo`.
 * The server takes few at a time, for a bounded time, from members alone.
 */
import type { Socket, TCPSocketListener } from "bun";

export const benchPortDefault = 51821;
const connectionsMax = 4;
const secondsMax = 60;
const lineBytesMax = 128;
const chunk = new Uint8Array(256 * 1024);
const echoBytes = 64;

interface Connection {
  mode: "" | "down" | "up" | "echo";
  received: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** `allowed`: whether that address is a member's. */
export function serveBench(
  hostname: string,
  port: number,
  allowed: (address: string) => Promise<boolean>,
): TCPSocketListener<Connection> {
  let open = 0;
  const begin = async (socket: Socket<Connection>, line: string): Promise<void> => {
    const [, mode, seconds] = /^(down|up|echo) ([0-9]{1,2})$/.exec(line) ?? [];
    const known = await allowed(socket.remoteAddress);
    if (mode === undefined || !known || Number(seconds) > secondsMax) {
      socket.end();
      return;
    }
    socket.data.mode = mode as Connection["mode"];
    socket.data.timer = setTimeout(() => socket.end(), (Number(seconds) + 2) * 1000);
    if (mode === "down") {
      setTimeout(() => {
        socket.data.mode = "";
        socket.end();
      }, Number(seconds) * 1000);
      pour(socket);
    } else socket.write("go\n");
  };
  return Bun.listen<Connection>({
    hostname,
    port,
    socket: {
      open(socket) {
        open += 1;
        socket.data = { mode: "", received: 0, timer: undefined };
        if (open > connectionsMax) socket.end();
      },
      data(socket, bytes) {
        if (socket.data.mode === "up") socket.data.received += bytes.length;
        else if (socket.data.mode === "echo") socket.write(bytes);
        else if (bytes.length <= lineBytesMax) void begin(socket, bytes.toString().trim());
        else socket.end();
      },
      drain(socket) {
        if (socket.data.mode === "down") pour(socket);
      },
      end(socket) {
        if (socket.data.mode === "up") socket.write(`${socket.data.received}\n`);
        socket.end();
      },
      close(socket) {
        open -= 1;
        clearTimeout(socket.data.timer);
      },
      error(socket) {
        socket.end();
      },
    },
  });
}

function pour(socket: { write(bytes: Uint8Array): number }): number {
  let written = 0;
  for (;;) {
    const taken = socket.write(chunk);
    if (taken > 0) written += taken;
    if (taken < chunk.length) return written;
  }
}

/** A tunnel that carries packets answers at once; the kernel alone would try for two minutes. */
export const connectMsMax = 5_000;

/** @throws Error where nobody takes a connection there in time, or it is refused. */
export async function reach(
  hostname: string,
  port: number,
  msMax = connectMsMax,
  connect: typeof connectOnce = connectOnce,
): Promise<void> {
  const late = Promise.withResolvers<never>();
  const why = `nothing answered on TCP ${port} within ${msMax / 1000} s`;
  const timer = setTimeout(() => late.reject(new Error(why)), msMax);
  try {
    await Promise.race([connect(hostname, port), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function connectOnce(hostname: string, port: number): Promise<void> {
  const socket = await Bun.connect({ hostname, port, socket: { data: () => undefined } });
  socket.end();
}

export interface Direction {
  readonly bytes: number;
  readonly seconds: number;
}

/** What arrives here from the server in so many seconds. */
export function measureDown(hostname: string, port: number, seconds: number): Promise<Direction> {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let startMs = 0;
    let lastMs = 0;
    void Bun.connect({
      hostname,
      port,
      socket: {
        open: (socket) => void socket.write(`down ${seconds}\n`),
        data(_socket, some) {
          lastMs = performance.now();
          if (startMs === 0) startMs = lastMs;
          else bytes += some.length;
        },
        close: () => resolve({ bytes, seconds: Math.max(0.001, (lastMs - startMs) / 1000) }),
        error: (_socket, error) => reject(error),
      },
    }).catch(reject);
  });
}

/** What arrives at the server in so many seconds, as it says itself. */
export function measureUp(hostname: string, port: number, seconds: number): Promise<Direction> {
  return new Promise((resolve, reject) => {
    let said = "";
    let startMs = 0;
    let pouring = false;
    void Bun.connect({
      hostname,
      port,
      allowHalfOpen: true,
      socket: {
        open: (socket) => void socket.write(`up ${seconds}\n`),
        data(socket, some) {
          said += some.toString();
          if (pouring || startMs > 0 || said !== "go\n") return;
          pouring = true;
          startMs = performance.now();
          pour(socket);
          setTimeout(() => {
            pouring = false;
            socket.shutdown();
          }, seconds * 1000);
        },
        drain(socket) {
          if (pouring) pour(socket);
        },
        close() {
          const bytes = Number(/^go\n([0-9]+)\n/.exec(said)?.[1]);
          if (Number.isNaN(bytes)) reject(new Error("the other side did not say how much came"));
          // Counted there until the last byte had come, which is when it spoke.
          else resolve({ bytes, seconds: Math.max(0.001, (performance.now() - startMs) / 1000) });
        },
        error: (_socket, error) => reject(error),
      },
    }).catch(reject);
  });
}

/** Round trips in milliseconds, one after the other, until the signal or so many seconds. */
export async function measureLatency(
  hostname: string,
  port: number,
  seconds: number,
  stop?: AbortSignal,
): Promise<readonly number[]> {
  const trips: number[] = [];
  const ended = Promise.withResolvers<void>();
  const endMs = performance.now() + seconds * 1000;
  let sentMs = 0;
  let ready = false;
  const send = (socket: { write(bytes: Uint8Array): number; end(): void }): void => {
    if (stop?.aborted === true || performance.now() > endMs) socket.end();
    else {
      sentMs = performance.now();
      socket.write(new Uint8Array(echoBytes));
    }
  };
  await Bun.connect({
    hostname,
    port,
    socket: {
      open: (socket) => void socket.write(`echo ${Math.ceil(seconds)}\n`),
      data(socket) {
        if (ready) trips.push(performance.now() - sentMs);
        ready = true;
        setTimeout(() => send(socket), 10);
      },
      close: () => ended.resolve(),
      error: (_socket, error) => ended.reject(error),
    },
  });
  await ended.promise;
  return trips;
}

/** Of the trips, by rank; null where there is none. */
export function percentile(trips: readonly number[], part: number): number | null {
  const sorted = trips.toSorted((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.floor(sorted.length * part));
  const value = sorted[at];
  return value === undefined ? null : Math.round(value * 1000) / 1000;
}

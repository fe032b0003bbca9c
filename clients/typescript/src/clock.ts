/** Time and chance, as a client knows them: a test gives others. */

/** Time, timers and random numbers. */
export interface Clock {
  /** Milliseconds since some moment; they never go back. */
  now(): number;
  /** Unix time in seconds. */
  unix(): number;
  /** A number from 0 up to 1. */
  random(): number;
  /** Calls back once in `ms` milliseconds, of which there may be any number; returns what prevents that. */
  after(ms: number, call: () => void): () => void;
}

/** The longest time that a timer of browsers and Node takes: one more, and it fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The clock of the machine. */
export const machineClock: Clock = {
  now: () => performance.now(),
  unix: () => Date.now() / 1000,
  random: () => Math.random(),
  after(ms, call) {
    let timer: ReturnType<typeof setTimeout>;
    const arm = (left: number) => {
      const part = Math.min(left, LONGEST_TIMER_MS);
      timer = setTimeout(() => (left > part ? arm(left - part) : call()), part);
    };
    arm(ms);
    return () => clearTimeout(timer);
  },
};

/** Timers of one owner, which end with it. */
export interface Waits extends Pick<Clock, "after"> {
  /** Resolves in `ms` milliseconds, and never where the owner is gone by then. */
  sleep(ms: number): Promise<void>;
  /** Ends all of them: nothing that slept goes on. */
  stop(): void;
}

/** Returns the timers of one owner. */
export function waitsBy(clock: Clock): Waits {
  const running = new Set<() => void>();
  let isStopped = false;
  const after: Clock["after"] = (ms, call) => {
    // Who was waiting for something else goes on behind the end.
    if (isStopped) return () => {};
    const stop = clock.after(ms, () => {
      running.delete(stop);
      call();
    });
    running.add(stop);
    return () => {
      running.delete(stop);
      stop();
    };
  };
  return {
    after,
    sleep: (ms) => new Promise((resolve) => void after(ms, resolve)),
    stop() {
      isStopped = true;
      for (const stop of running) stop();
      running.clear();
    },
  };
}

/** Resolves as a promise that never rejects does, or to undefined when `ms` milliseconds have passed. */
export function within<T>(timers: Pick<Clock, "after">, ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const cancel = timers.after(ms, () => resolve(undefined));
    void promise.then((value) => {
      cancel();
      resolve(value);
    });
  });
}

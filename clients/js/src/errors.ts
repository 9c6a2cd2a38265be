/*
 * The errors of the client: the server's answers to refused commands, and the reasons why no answer comes.
 */
import type { ErrorFrame, ServerErrorCode } from "./protocol.js";

/**
 * The codes that the client adds to those of the server:
 * `closed` (the connection was closed before the answer), `outbox_full` (too much is waiting to be sent),
 * `connection_lost` (the network or the server ended the connection), `token_failed` (the token function failed),
 * `storage_failed`, `listener_failed` (a function of the application threw), `not_supported`,
 * and the names of the close codes after which the client stays away.
 */
export type ClientErrorCode =
  | "closed"
  | "outbox_full"
  | "connection_lost"
  | "token_failed"
  | "storage_failed"
  | "listener_failed"
  | "not_supported"
  | "too_large"
  | "protocol_version"
  | "suspended"
  | "erased";

export class OnRecordError extends Error {
  override readonly name = "OnRecordError";
  readonly code: ServerErrorCode | ClientErrorCode;
  /** Whether the same command may succeed later. */
  readonly retryable: boolean;
  /** Seconds until the server accepts the next command, if the server named them. */
  readonly retryAfter: number | undefined;

  constructor(code: ServerErrorCode | ClientErrorCode, message: string, retryable = false, more: { retryAfter?: number; cause?: unknown } = {}) {
    super(message, "cause" in more ? { cause: more.cause } : undefined);
    this.code = code;
    this.retryable = retryable;
    this.retryAfter = more.retryAfter;
  }
}

export function errorOf(frame: ErrorFrame): OnRecordError {
  return new OnRecordError(frame.code, frame.message, frame.retryable === true, "retryAfter" in frame ? { retryAfter: frame.retryAfter } : {});
}

/** Marks a promise as handled: a caller that does not await it causes no unhandled rejection. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/**
 * The ends of sessions, until the server must have heard of them.
 *
 * When the network changes, the connection on which a session's end was told may have been dead for
 * long, and the server may think for as long that the session goes on. Sessions belong to users, so
 * the server takes their end on any later connection: before the next watch_request, which then
 * finds the device's place free.
 */

export class Endings {
  #link;
  /** By session id: the number of the connection on which its end was told; null: on none. */
  #toldOn = new Map();

  constructor(link) {
    this.#link = link;
  }

  /** Tell the server that a session is over: now, or without a connection on the next one. */
  tell(sessionId) {
    this.#toldOn.set(sessionId, null);
    if (!this.#link.isActive) return;
    this.#toldOn.set(sessionId, this.#link.number);
    // An error only says that the session was over already.
    this.#link.request('end_watch', { session_id: sessionId }).catch(() => {});
  }

  /** Tell again what an earlier connection may have swallowed; call the result once it is answered. */
  catchUp() {
    const owed = [...this.#toldOn];
    for (const [sessionId, number] of owed) {
      if (number !== this.#link.number) this.tell(sessionId);
    }
    return () => owed.forEach(([sessionId]) => this.#toldOn.delete(sessionId));
  }
}

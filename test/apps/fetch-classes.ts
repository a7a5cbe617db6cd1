/**
 * A fetch handler that says whose `Request.prototype.url` it sees. Loaded as a module of its own: the classes are the
 * process's.
 */

export default {
  fetch(): Response {
    const { get } = Object.getOwnPropertyDescriptor(Request.prototype, 'url')!
    return new Response(String(get).includes('brandCheck') ? 'platform' : 'light')
  },
}

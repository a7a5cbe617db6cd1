/** Which responses have no body on the wire, whatever the application returns (RFC 9110 §6.4.1). */

/** Whether responses with this status have no body: 204, 304, and 205 (RFC 9110 §15.3.6). */
export function isBodylessStatus(code: number): boolean {
  return code === 204 || code === 205 || code === 304
}

/** Whether the response to `method` with this status has no body. */
export function isBodyless(method: string, code: number): boolean {
  return method === 'HEAD' || isBodylessStatus(code)
}

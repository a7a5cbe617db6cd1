/** What an environ says of its own process: the same in each, so that no peer may set it and none is sent it. */

export const SERVER_SOFTWARE = 'gantry'
export const GATEWAY_INTERFACE = 'CGI/1.1'

/** Whether a variable belongs to the process that it is in. (The first letter is asked first: most names have another.) */
export function isOwn(name: string): boolean {
  const letter = name.charCodeAt(0)
  return (letter === 0x77 && name.startsWith('wsgi.')) || (letter === 0x67 && name.startsWith('gantry'))
}

/** The reason phrase of each registered status code (RFC 9110 §15), so that codecs need not import `node:http`. */
export { STATUS_CODES as REASONS } from 'node:http'

/** The syntax of a token: methods, field names, parameters (RFC 9110 §5.6.2). */

export const TOKEN: RegExp = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** What an id must look like before it touches a path. Light, for the fast path of a hook. */

export const idPattern = /^bg_[0-9a-f]{8,32}$/;
export const idPrefixPattern = /^bg_[0-9a-f]{0,32}$/;
export const sessionPattern = /^[A-Za-z0-9_-]{1,128}$/;

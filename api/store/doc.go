// Package store is what several replicas of the API have in common: a Redis
// whose records are named and sealed here. What the records mean is decided by
// the packages that write them.
package store

// Package deploy tests what is in the folder deploy: the chart and the
// kustomizations render, a real API server takes every object, and what they
// describe runs and answers, as a cluster's DNS and in the place of another.
//
// It is a module of its own, so that the libraries of Helm and Kustomize are
// nobody's dependencies. Tests that need network namespaces take Linux, ip(8),
// nft(8) and root.
package deploy

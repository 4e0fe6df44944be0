//go:build !linux

package main

func beContainer() {}

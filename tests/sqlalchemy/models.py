"""The shop as an application's ORM would map it: relationships, lazy loads, a table to write."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from sqlalchemy import TIMESTAMP, ForeignKey, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, mapped_column, relationship


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[type, object]] = {datetime: TIMESTAMP(timezone=True)}


class Organisation(Base):
    __tablename__ = "organisations"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    users: Mapped[list[User]] = relationship(back_populates="organisation", order_by="User.id")


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str]
    organisation: Mapped[Organisation] = relationship(back_populates="users")
    orders: Mapped[list[Order]] = relationship(back_populates="user")
    notes: Mapped[list[Note]] = relationship(back_populates="user")


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    organisation_id: Mapped[int]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str]
    total: Mapped[Decimal]
    created_at: Mapped[datetime]
    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list[Item]] = relationship(back_populates="order", order_by="Item.line")


class Item(Base):
    __tablename__ = "order_items"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    unit_price: Mapped[Decimal]
    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()


class Product(Base):
    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    organisation_id: Mapped[int]
    name: Mapped[str]
    price: Mapped[Decimal]
    sold = column_property(
        select(func.coalesce(func.sum(Item.quantity), 0))
        .where(Item.product_id == id)
        .correlate_except(Item)
        .scalar_subquery(),
        deferred=True,
    )


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str]
    body: Mapped[str] = mapped_column(server_default="")
    pinned: Mapped[bool] = mapped_column(default=False)
    user: Mapped[User] = relationship(back_populates="notes")
